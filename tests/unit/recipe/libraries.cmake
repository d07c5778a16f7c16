hatchd_unit_test(recipe hatch_recipe)
