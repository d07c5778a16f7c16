hatchd_unit_test(http hatchd_http OpenSSL::SSL OpenSSL::Crypto)
