hatchd_unit_test(front hatchd_front hatchd_api hatchd_http hatchd_runs hatchd_config OpenSSL::Crypto)
target_include_directories(unit_front PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/runs)
