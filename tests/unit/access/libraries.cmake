hatchd_unit_test(access hatchd_access OpenSSL::Crypto)
