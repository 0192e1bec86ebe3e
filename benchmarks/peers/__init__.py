"""The same project for other packages. Nothing here may import the package that is measured."""
