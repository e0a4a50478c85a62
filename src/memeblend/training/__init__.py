"""Training: from memes and a recipe's settings to trained models, on the Hugging Face Trainer."""
