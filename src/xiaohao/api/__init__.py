"""The HTTP interface: the rooms' routes put together; errors, auth, paging."""
