hatchd_unit_test(common hatch_common hatch_tls)
