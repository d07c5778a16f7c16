hatchd_unit_test(worker hatchd_worker hatchd_exec)
target_sources(unit_worker PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/worker/plugin_under_test.cpp)
target_compile_definitions(unit_worker PRIVATE WORKER_PROGRAM="$<TARGET_FILE:hatchd-worker>"
  FIXTURES="${CMAKE_BINARY_DIR}/fixtures")
add_dependencies(unit_worker hatchd-worker fixture_hatches template_mine)
# In a sanitizer build the fixtures' crashes must stay signals.
set_tests_properties(unit.worker PROPERTIES ENVIRONMENT "ASAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigill=0")
