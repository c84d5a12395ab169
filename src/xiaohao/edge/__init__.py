"""Kamailio and rtpengine: their generated configuration and the clients that speak to them."""
