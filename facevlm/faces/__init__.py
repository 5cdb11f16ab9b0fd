"""Pictures and the faces in them: read, cut out, measured, chosen, and told apart."""
