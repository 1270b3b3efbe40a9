"""ONNX: fitted models as files for ONNX Runtime and other programs (extra ``onnx``: onnx and onnxruntime)."""
