"""Pages for people: they need the extra `app` (`pip install 'syncdraw[app]'`)."""
