"""Models as ONNX, for where there is no Python: graphs, files, and a player that checks them."""
