"""Live duets over the network: sessions, takes and jobs for a web page."""
