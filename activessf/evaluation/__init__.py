"""Stage 5: metrics, statistics, tables, figures and the report, all functions of predictions.csv."""
