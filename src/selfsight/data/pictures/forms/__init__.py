"""Forms: everything that DATA may be: folders, lists, tables, arrays, archives, names."""
