"""Another master key: everything that the old one sealed is sealed anew."""
