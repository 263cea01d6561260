"""Commands about audio codecs."""
