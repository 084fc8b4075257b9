"""What is said of pictures that cannot be read, whatever their file holds."""

from pathlib import Path

from agent.errors import DatasetError
from agent.learning.pictures.dataset import open_dataset


def complaints(source: Path) -> tuple[list[str], list[str]]:
    """Of the file, which then is read no further, and of the pictures in it. Whatever else is raised goes on."""
    of_pictures = []
    try:
        with open_dataset(source) as pictures:
            for picture in pictures:
                try:
                    picture.read()
                except OSError as error:
                    of_pictures.append(str(error))
    except DatasetError as error:
        return [str(error)], of_pictures
    return [], of_pictures
