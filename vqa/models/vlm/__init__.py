"""Vision-language models of transformers, asked yes/no questions about pictures."""
