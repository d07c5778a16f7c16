hatchd_unit_test(app hatch_app boost_json)
