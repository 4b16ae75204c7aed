"""The local playback edge: validates tokens, and serves multivariant playlists, variant playlists and segments."""
