"""Audio injection: the player's sound enters the context of an audio model.

Import from the modules; `engine` ties them together. No threads, no devices.

Source: Magenta RealTime's notebook Magenta_RT_Audio_Injection,
https://github.com/magenta/magenta-realtime
"""
