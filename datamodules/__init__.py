"""LightningDataModules: where experience comes from; they own and save all data state."""
