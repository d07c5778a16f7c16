hatchd_unit_test(mail hatch_mail boost_json OpenSSL::SSL)
