"""`python -m stylemix` does what `stylemix` does."""

from stylemix.cli import main

if __name__ == "__main__":
    main(prog_name="stylemix")
