"""Chart, manifests, unit, Debian package and image: rendered, checked and installed with the tools of their users."""
