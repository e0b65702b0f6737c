"""The web app: from a photo to an avatar in the browser, one file for each screen."""
