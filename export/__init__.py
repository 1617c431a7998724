"""Make the files that are measured: variants, weights, ONNX, quantisation."""
