"""Image files: what their headers say, and their pixels, decoded here or in processes of their own."""
