"""What a checkpoint costs: speed and memory, single layers cut."""
