"""What a user wants done, a verb a file: each is checked as a whole before anything is written, asked or paid."""
