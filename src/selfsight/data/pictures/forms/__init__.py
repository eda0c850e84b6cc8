"""Forms: what DATA may be: folders, lists, tables, arrays, archives, names."""
