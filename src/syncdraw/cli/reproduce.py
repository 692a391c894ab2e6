"""syncdraw reproduce."""

from cyclopts import App

from syncdraw.reproduce import table1

app = App(name="reproduce", help="Train and measure a table of the papers again.")
app.command(table1)
