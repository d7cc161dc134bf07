"""What can be measured in the pixels of a clip: opening videos, numbers and curves over time."""
