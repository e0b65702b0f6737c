"""Networks as files that run without stylemix: ONNX, torch.export, a page for the browser."""
