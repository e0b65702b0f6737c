"""A person in styles: inputs, rendering, identity guard, regions, sheets and animation."""
