"""Models behind one interface: onnxruntime, which comes with promptless, and torch, where it is installed."""
