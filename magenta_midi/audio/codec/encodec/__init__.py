"""EnCodec in Flax: 24 kHz mono as a stream, 48 kHz stereo in windows."""
