"""`python -m stylemix` runs the `stylemix` command."""

from stylemix.cli import main

if __name__ == "__main__":
    main(prog_name="stylemix")
