"""syncdraw reproduce."""

from cyclopts import App

app = App(name="reproduce", help="Train and measure a table of the papers again.")
app.command("syncdraw.reproduce:table1", name="table1", help="Table 1 of v2, beside the paper's figures.")
