"""Event stores: user events and served lists, written while serving and read by the next fit."""
