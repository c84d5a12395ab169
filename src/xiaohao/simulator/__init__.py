"""A carrier with phones and a customer's endpoint that really speak SIP, RTP and HTTP."""
