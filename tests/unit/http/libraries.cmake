hatchd_unit_test(http hatchd_http)
