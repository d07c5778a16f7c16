hatchd_unit_test(audit hatchd_audit)
