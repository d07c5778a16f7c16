hatchd_unit_test(config hatchd_config OpenSSL::Crypto)
target_compile_definitions(unit_config PRIVATE HATCHD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
