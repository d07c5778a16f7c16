hatchd_unit_test(runs hatchd_runs hatchd_api)
