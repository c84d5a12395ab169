"""The platform's numbers: numbering plan, inventory, pools."""
