"""The report of one or more replays: one HTML page that needs nothing from elsewhere.

    Run: name, summary, tables ──figures──> charts as data ──page──> report.html

`run` reads what a replay left; `figures` turns tables into charts and the words and tables beside them; `page` puts all into one file.
Nothing here knows the event log: every number of the page is in the summary or in a table.
"""
