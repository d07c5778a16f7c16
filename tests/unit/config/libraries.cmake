hatchd_unit_test(config hatchd_config)
target_compile_definitions(unit_config PRIVATE HATCHD_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
