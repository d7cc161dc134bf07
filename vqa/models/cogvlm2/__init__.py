"""CogVLM2: an EVA2-CLIP vision tower in front of a Llama-3 decoder.

Two kinds exist: video (VisionReward-Video, cogvlm2-llama3-caption) and image (VisionReward-Image),
whose decoder has a second set of weights for vision tokens. Papers: Hong et al., CogVLM2, arXiv
2408.16500; Wang et al., CogVLM, arXiv 2311.03079.

Read in this order: `config` (sizes and tensor names), `pixels` and `prompt` (what goes in),
`vision`, `decoder`, `model`, then `packing` (many questions about many clips in one pass).
"""
