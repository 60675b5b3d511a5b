"""A few megabytes of the Qwen3-VL architecture, trained here from nothing to read printed lines."""
