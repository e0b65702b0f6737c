"""A person in styles: inputs, rendering, identity and regions kept, sheets, animation."""
